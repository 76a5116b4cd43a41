#!/usr/bin/env bash
# Encodes a file and scores it meanwhile: FFmpeg's tee muxer sends the encoded packets to the file and down a pipe.
#
#   examples/tee.sh SOURCE FOLDER [qclip-probe's options]
#
# You will see qclip-probe's table, and find encoded.mp4 and its track encoded.json in FOLDER. Packets carry their
# colour tags, so nothing has to be told. A scorer that fails costs its scores, never the encode; a slow one slows it.
set -euo pipefail
input=$1 folder=$2
shift 2
ffmpeg=${FFMPEG:-$(command -v ffmpeg || python3 -c 'import imageio_ffmpeg as i; print(i.get_ffmpeg_exe())')}
[[ $input == /* || $input == *://* ]] || input=$PWD/$input
cd -- "$folder" # in tee's list of outputs a path with any of ' | \ [ : would have to be quoted

"$ffmpeg" -v error -nostdin -y -i "$input" -map 0:v:0 -map '0:a?' -c:v libx264 -b:v 800k -pix_fmt yuv420p -c:a aac \
    -flags +global_header -f tee '[f=mp4:movflags=+faststart]encoded.mp4|[f=nut:select=v:onfail=ignore]pipe\:1' |
    qclip-probe - -y -o encoded.json "$@"
