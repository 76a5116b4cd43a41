# Tracks that may not pass, one line each, and status 5; a line that says so where all may.
#
#   jq -rs --argjson floor 60 -f floor.jq ladder/*.qclip.json
#
# A track passes if it is of the whole file, of a trained model, and its mean score is not below the floor.
def passes: .complete and .model.status == "trained" and .pooled.mean >= $floor;
def line: "\(.source.name): score \(.pooled.mean), \(.warnings[0] // "p5 \(.pooled.p5)")";

map(select(passes | not) | line)
| if . == [] then "all passed, with a floor of \($floor)"
  else error("not passed, with a floor of \($floor):\n" + join("\n")) end
