.PHONY: test check schema

test:
	pytest

check:
	ruff check .
	ruff format --check .
	mypy

schema:
	python -m qclip_ffmpeg.emit.gate_json > docs/qclip-gate.schema.json
	python -m qclip_ffmpeg.emit.sidecar > docs/qclip-track.schema.json
