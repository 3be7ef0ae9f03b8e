"""Start SciceVPR Studio: `python app.py` here, or as the entry file of a Hugging Face Space."""

from __future__ import annotations

from app.environment import prepare, register_with_zero_gpu

if __name__ == "__main__":
    prepare()  # before gradio is imported
    register_with_zero_gpu()  # before torch is
    from app.start import main

    main()
