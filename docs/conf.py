"""How `make docs` makes a site of the Markdown: whatever Sphinx warns of fails the build.

The sources are those of the whole project, so that links between README, CHANGELOG and docs/ are
checked and work in the site as they do in the repository.
"""

project = "Instagram identity service"
html_title = project
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**.md"]
exclude_patterns = [".*", "benchmarks", "service", "tests"]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to headings, as in the repository

html_theme = "furo"  # brings its styles and scripts along: a reader's browser asks nobody else
html_extra_path = ["site"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
