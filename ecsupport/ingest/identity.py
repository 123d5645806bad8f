"""Names become pseudonyms by a keyed hash, dates are shifted a patient (PS3.15 annex E, retain modified dates).

Who has the key can find out whose pseudonym one is; without it nobody can, even with a list of all ids.
"""

import datetime
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from ecsupport.core.artefacts import replacing
from ecsupport.core.errors import UserError

KEY = "key"
BYTES = 32
DIGITS = 12  # hexadecimal, of a pseudonym
MOST_DAYS = 365  # by which a patient's dates are shifted, to either side


def open_key(private: Path) -> bytes:
    """The key in a private folder, made there, for the owner's eyes only, where there is none.

    UserError where the file holds something else.
    """
    file = private / KEY
    if not file.exists():
        with replacing(file) as making:
            making.chmod(0o600)
            making.write_text(secrets.token_hex(BYTES) + "\n", encoding="ascii")
    text = file.read_bytes().strip()
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * BYTES), text):
        raise UserError(f"{file} holds no key of {2 * BYTES} digits. Restore it, or begin with a new private folder")
    return bytes.fromhex(text.decode("ascii"))


def code(key: bytes, kind: str, name: str) -> str:
    """Pseudonym of a name: the first letter of its kind, a hyphen, DIGITS hexadecimal digits."""
    digest = hmac.new(key, os.fsencode(f"{kind}\0{name}"), hashlib.sha256).hexdigest()
    return f"{kind[0]}-{digest[:DIGITS]}"


def shifted(key: bytes, patient: str, date: str) -> str:
    """A date YYYYMMDD moved by the patient's own number of days, 1 to MOST_DAYS to either side, as YYYY-MM-DD.

    Empty where it is no date. Intervals between dates of one patient stay.
    """
    try:
        day = datetime.datetime.strptime(date.strip()[:8], "%Y%m%d").date()
        number = int.from_bytes(hmac.new(key, os.fsencode(f"days\0{patient}"), hashlib.sha256).digest()[:8], "big")
        days = number % (2 * MOST_DAYS) - MOST_DAYS
        return (day + datetime.timedelta(days + (days >= 0))).isoformat()
    except (ValueError, OverflowError):
        return ""
