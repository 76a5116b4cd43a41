"""Names that strangers chose, for reports that people and other programs read: one line, no longer than its place."""

import unicodedata

UNPRINTED = ("C", "Zl", "Zp")
"""Unicode categories: control characters, marks of direction, lone surrogates, what is not assigned; line ends."""


def one_line(text: str, most: int | None = None) -> str:
    """A text with a space for each character that is not printed, or that would end the line or turn its direction.

    What is left is allowed in XML 1.0 and can be encoded as UTF-8.

    Args:
        text: of any origin.
        most: characters, 3 or more; a longer text loses its middle. None: as long as it is.
    """
    if most is not None and len(text) > most:
        end = (most - 1) // 2
        text = f"{text[: most - 1 - end]}…{text[-end:]}"
    if text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c).startswith(UNPRINTED) else c for c in text)
