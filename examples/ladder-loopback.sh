#!/usr/bin/env bash
# Encodes two rungs of a ladder and scores them in the same FFmpeg process: loopback decoders (-dec, FFmpeg 7 or newer)
# hand on what the encoders made, while they make it, and no rung is read back from the disk.
#
#   examples/ladder-loopback.sh SOURCE FOLDER [qclip-probe's options]
#
# You will see the score of each rung, and find 360p.mp4, 180p.mp4 and their tracks 360p.json, 180p.json in FOLDER. The
# scores are those of the finished files, to the last digit. A scorer that fails costs its scores, never the encode.
# Each rung has a scorer of its own, with a model of its own in memory.
set -euo pipefail
input=$1 folder=$2
shift 2
ffmpeg=${FFMPEG:-$(command -v ffmpeg || python3 -c 'import imageio_ffmpeg as i; print(i.get_ffmpeg_exe())')}

# Raw NUT has no place for colour tags: the encoders and the scorers are told the same. This is what HD is.
colours=setparams=colorspace=bt709:range=tv
told=(-colorspace bt709 -color_range tv)

pipes=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$pipes"' EXIT
mkfifo "$pipes/360p" "$pipes/180p"
score() { exec qclip-probe - "${told[@]}" -q -y -o "$folder/$1.json" "${@:2}" < "$pipes/$1"; }
score 360p "$@" & scorers=$!
score 180p "$@" & scorers+=" $!"

x264=(-c:v libx264 -movflags +faststart -c:a aac)
# tee goes on when one of its outputs fails, as long as another is left: null always is.
raw=(-fps_mode passthrough -c:v rawvideo -f tee)
nut='[f=null]-|[f=nut:onfail=ignore]'
"$ffmpeg" -v error -nostdin -y -i "$input" \
    -filter_complex "[0:v:0]$colours,format=yuv420p,split[h][l]; [h]scale=-2:360[360p]; [l]scale=-2:180[180p]" \
    -map '[360p]' -map '0:a?' "${x264[@]}" -b:v 800k "$folder/360p.mp4" \
    -map '[180p]' -map '0:a?' "${x264[@]}" -b:v 250k "$folder/180p.mp4" \
    -dec 0:0 -filter_complex '[dec:0]null[d0]' -map '[d0]' "${raw[@]}" "$nut$pipes/360p" \
    -dec 1:0 -filter_complex '[dec:1]null[d1]' -map '[d1]' "${raw[@]}" "$nut$pipes/180p"

failed=0
for scorer in $scorers; do wait "$scorer" || failed=$?; done
[ "$failed" = 0 ] || exit "$failed"
for rung in 360p 180p; do
    python3 -c 'import json, sys; print(sys.argv[1], json.load(open(sys.argv[2]))["pooled"]["mean"])' \
        "$rung" "$folder/$rung.json"
done
