"""Start SciceVPR Studio: `python app.py` here, or as the entry file of a Hugging Face Space."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing leaves the machine; read when gradio is imported

from app.start import main

if __name__ == "__main__":
    main()
