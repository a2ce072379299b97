"""Sphinx's settings, copied into the staged project (`agent_tools.handbook.site.staging`). No page needs a network."""

project = "OCR workbench"
html_title = "OCR workbench handbook"
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["extra", "static"]
# two dashes in a command are two dashes
smartquotes = False

# the documents are read on GitHub too, so what only MyST reads as syntax is text
myst_disable_syntax = ["myst_line_comment", "myst_block_break", "myst_target", "myst_role"]
myst_enable_extensions = ["tasklist", "strikethrough"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "myst.strikethrough", "misc.highlighting_failure"]

html_theme = "furo"
html_static_path = ["static"]
html_extra_path = ["extra"]
html_favicon = "static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_copyright = False
# the search page would fetch whole pages, which a browser refuses for files
html_show_search_summary = False
html_last_updated_fmt = None
