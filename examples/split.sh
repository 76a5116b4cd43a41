#!/usr/bin/env bash
# Scores a source while it is encoded: split hands every decoded picture to the encoder and, as it is, to qclip-probe.
#
#   examples/split.sh SOURCE FOLDER [qclip-probe's options]
#
# You will see qclip-probe's table, and find encoded.mp4 and the track of the source, source.json, in FOLDER: was it any
# good before it was encoded? The source is decoded once. Raw NUT has no place for colour tags; for a source that is not
# limited-range BT.709 (HD) or BT.601 (SD), name them: -colorspace bt2020nc -color_trc smpte2084
set -euo pipefail
input=$1 folder=$2
shift 2
ffmpeg=${FFMPEG:-$(command -v ffmpeg || python3 -c 'import imageio_ffmpeg as i; print(i.get_ffmpeg_exe())')}

"$ffmpeg" -v error -nostdin -y -i "$input" -filter_complex '[0:v:0]split[encode][score]' \
    -map '[encode]' -map '0:a?' -c:v libx264 -b:v 800k -pix_fmt yuv420p -c:a aac "$folder/encoded.mp4" \
    -map '[score]' -fps_mode passthrough -c:v rawvideo -f tee '[f=null]-|[f=nut:onfail=ignore]pipe\:1' |
    qclip-probe - -y -o "$folder/source.json" "$@"
