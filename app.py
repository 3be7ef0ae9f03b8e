"""Start SciceVPR Studio: `python app.py` here, or as the entry file of a Hugging Face Space."""

from __future__ import annotations

import sys

from app.environment import prepare, register_with_zero_gpu

if __name__ == "__main__":
    sys.stdout.write("SciceVPR Studio is starting …\n")
    sys.stdout.flush()
    prepare()  # before gradio is imported
    register_with_zero_gpu()  # before torch is
    from app.start import main

    main()
