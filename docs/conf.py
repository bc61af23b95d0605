"""Sphinx configuration."""

import inspect
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import skvae  # noqa: E402

project = "skvae"
author = "the skvae developers"
copyright = f"2026, {author}"
version = release = skvae.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # MathJax comes with the site: pages ask no other server for anything.
    "sphinx-mathjax-offline",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "examples", "**/GALLERY_HEADER.rst"]
default_role = "literal"

# -- reference ---------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the Parameters section says it in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def leave_out_foreign_members(app, what, name, obj, skip, options):
    """Show what skvae adds; methods of scikit-learn and torch have their own pages."""
    obj = inspect.unwrap(getattr(obj, "fget", None) or getattr(obj, "__func__", obj))
    module = getattr(obj, "__module__", None) or "skvae"
    return True if not module.startswith("skvae") else skip


def setup(app):
    app.connect("autodoc-skip-member", leave_out_foreign_members)


# -- gallery -----------------------------------------------------------------------------------

without_gallery = os.environ.get("SKVAE_DOCS_NO_GALLERY") == "1"
# The user guide shows pictures that the examples draw.
suppress_warnings = ["image.not_readable"] if without_gallery else []
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": "False" if without_gallery else "True",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "copyfile_regex": r".*\.csv",
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "matplotlib_animations": False,
}

# -- pages -------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skvae"
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["skvae.css"]
html_show_sourcelink = False
html_copy_source = False
wide = ("index", "install", "architecture", "comparison", "glossary", "gallery/*")
html_sidebars = {page: [] for page in wide}
html_theme_options = {
    "logo": {"text": "skvae"},
    "show_prev_next": False,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "secondary_sidebar_items": ["page-toc"],
    "navigation_with_keys": False,
}
pygments_style = "default"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
