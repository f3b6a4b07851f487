"""The notebooks without a browser: one after the other, or as a campaign of jobs on a cluster."""

import sys

# JupyterLab brings a package with which jsonschema, and so nbformat, would compile a grammar of web addresses at every
# start, for three seconds. No notebook is checked against it, and jsonschema does without where it is not installed.
sys.modules.setdefault("rfc3987_syntax", None)
