"""Values within generated scripts: quoted so that bash and sbatch take each as one word.

Used by `job_scripts.py` and `copy_commands.py`.

No value of a campaign or a site gets into a script in any other way.
"""

import re
import shlex


def quoted(value, variables=False):
    """A value as one word of bash.

    Parameters
    ----------
    value : str or Path
    variables : bool
        Whether $NAME and ${NAME} in it are expanded when the script runs; nothing else ever is.
    """
    value = str(value)
    if not variables or "$" not in value:
        return shlex.quote(value)
    escaped = re.sub(r'["`\\]', r"\\\g<0>", value)
    return '"' + re.sub(r"\$(?![A-Za-z_]|\{[A-Za-z_]\w*\})", r"\\$", escaped) + '"'


def command(line):
    """A command whose words are quoted, with a blank behind it; "" for None. Variables in it are expanded."""
    return "".join(f"{quoted(word, variables=True)} " for word in shlex.split(line or ""))


def in_double_quotes(value):
    """A value as one word of sbatch's options or of sftp's commands, to which a backslash keeps the next character."""
    return '"' + re.sub(r'["\\]', r"\\\g<0>", str(value)) + '"'
