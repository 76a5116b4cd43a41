# Encodes a ladder of one source and scores the rungs that have changed, with one model load.
#
#   make -f examples/ladder.mk SOURCE=in.mov [OUT=ladder] [RUNGS="180:250k 360:800k"] [encodes]
#
# You will see a table of the rungs, and find OUT/360p.mp4 with its track OUT/360p.mp4.qclip.json. A second make does
# nothing; a new rung is encoded and scored, and no other. "encodes" makes the files and leaves the scores to qclip-gate.
# OUT may not have a space in it (make splits at them).

SOURCE ?= examples/media/bbb-720p.mp4
OUT ?= ladder
RUNGS ?= 180:250k 360:800k
FFMPEG ?= $(shell command -v ffmpeg || python3 -c 'import imageio_ffmpeg as i; print(i.get_ffmpeg_exe())')

empty :=
source := $(subst $(empty) ,\ ,$(SOURCE))
height = $(firstword $(subst :, ,$(1)))
rate = $(lastword $(subst :, ,$(1)))
FILES := $(foreach rung,$(RUNGS),$(OUT)/$(call height,$(rung))p.mp4)

.PHONY: all encodes clean
.DELETE_ON_ERROR:
all: $(OUT)/.scored
encodes: $(FILES)

$(OUT)/.scored: $(FILES)
	qclip-probe $? --sidecar $(PROBE_OPTIONS)
	@touch $@

$(OUT):
	mkdir -p $@

define encoded_rung
$(OUT)/$(call height,$(1))p.mp4: $(source) | $(OUT)
	"$$(FFMPEG)" -v error -nostdin -y -i "$$<" -map 0:v:0 -map '0:a?' -vf scale=-2:$(call height,$(1)) -pix_fmt yuv420p \
		-c:v libx264 -b:v $(call rate,$(1)) -c:a aac -movflags +faststart $$@
endef
$(foreach rung,$(RUNGS),$(eval $(call encoded_rung,$(rung))))

clean:
	rm -f $(FILES) $(FILES:=.qclip.json) $(OUT)/.scored
