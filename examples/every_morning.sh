#!/usr/bin/env bash
# Keeps a published collection of days up to date, without a workflow engine. A line of cron for every morning at 5:15:
#
#   15 5 * * * CATALOG=earth-search BBOX=3.01,50.81,3.03,50.82 FIRST=2026-04-01 OUT=/data/field TO=https://stac.example.org /opt/every_morning.sh
#
# It ends with what the first command that failed said and its exit code; what is published stays as it was then, and the
# next morning goes on from what is finished.
set -euo pipefail

query=(--catalog "$CATALOG" --bbox "$BBOX" --datetime "$FIRST/${TODAY:-$(date -u +%F)}" ${BANDS:+--bands "$BANDS"})

spaceeye-stac search "${query[@]}" --json >"$OUT.scenes.json.new"
mv "$OUT.scenes.json.new" "$OUT.scenes.json"
spaceeye-stac run "${query[@]}" ${METHOD:+--method "$METHOD"} --out "$OUT" --update --quiet
spaceeye-stac publish "$OUT" --to "$TO" --quiet
