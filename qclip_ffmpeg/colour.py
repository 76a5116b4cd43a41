"""Which colour matrix, range and transfer a stream has: the user's word, else its tags, else a stated rule.

Tags are the code points of ITU-T H.273, as FFmpeg's decoders put them on frames.
"""

from typing import Literal

from qclip_ffmpeg.frame import Transfer

ColorMatrixOption = Literal["bt709", "bt470bg", "smpte170m", "bt2020nc", "smpte240m", "fcc"]
ColorRangeOption = Literal["tv", "pc", "limited", "full", "mpeg", "jpeg"]
TransferOption = Literal["bt709", "smpte2084", "arib-std-b67"]

MATRIX_OF_TAG = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
MATRICES_NOT_CONVERTED = {8, 11, 12, 13, 14, 15}  # YCgCo, YDzDx, chroma-derived, ICtCp, IPT-C2
MATRIX_OF_OPTION = {
    "bt709": "bt709",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "bt2020nc": "bt2020",
    "smpte240m": "smpte240m",
    "fcc": "fcc",
}
TRANSFER_OF_TAG: dict[int, Transfer] = {16: "pq", 18: "hlg"}
TRANSFER_OF_OPTION: dict[str, Transfer] = {"bt709": "sdr", "smpte2084": "pq", "arib-std-b67": "hlg"}
RANGE_FULL = 2  # FFmpeg's AVColorRange
HD_WIDTH_PX, HD_HEIGHT_PX = 1280, 720


def color_matrix(
    tag: int, is_rgb: bool, width_px: int, height_px: int, transfer: Transfer, said: ColorMatrixOption | None
) -> str:
    """Name of the matrix to convert to R'G'B' with.

    Untagged HDR is BT.2020; other untagged pictures are BT.709 from HD on (720 lines or 1280 columns) and BT.601 below,
    as players take them.
    """
    if is_rgb:
        return "rgb"
    if said:
        return MATRIX_OF_OPTION[said]
    hd = width_px >= HD_WIDTH_PX or height_px >= HD_HEIGHT_PX
    return MATRIX_OF_TAG.get(tag, "bt2020" if transfer != "sdr" else "bt709" if hd else "bt601")


def color_range(tag: int, is_rgb: bool, pixel_format: str, said: ColorRangeOption | None) -> Literal["limited", "full"]:
    """Range of the stored values. Untagged Y'CbCr is limited (FFmpeg's yuvj formats full), gray and R'G'B' full."""
    if is_rgb or pixel_format.startswith(("gray", "ya")):  # swscale takes gray for full range whatever it is told
        return "full"
    if said:
        return "full" if said in ("pc", "full", "jpeg") else "limited"
    return "full" if tag == RANGE_FULL or pixel_format.startswith("yuvj") else "limited"


def transfer_of(tag: int, said: TransferOption | None) -> Transfer:
    """Transfer characteristic, as far as it decides how the picture is handled: PQ and HLG are HDR, all else is SDR."""
    return TRANSFER_OF_OPTION[said] if said else TRANSFER_OF_TAG.get(tag, "sdr")
