#!/bin/sh
# From synthetic raw GeoTIFFs with planted defects to a trained net and a map, in the commands a user would type.
# About three minutes on two idle cores. Usage: pipelines/demo.sh OUT
set -eu
out=${1:?give a folder for what the demo writes}
here=$(dirname "$0")
step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

rm -rf "$out"
step greenprep synth "$out/raw" --areas 12 --times 2 --size 133 --seed 1
step greenprep clean "$out/raw" "$out/clean" --recipe "$here/demo.yaml"
step greenprep tile "$out/clean" "$out/city.zarr"
step greenprep split "$out/city.zarr"
step greentrain fit "$out/city.zarr" --out "$out/run" --config "$here/demo_train.yaml"
scene=$(find "$out/clean/images" -name '*_0_1_GeoTIFF.tif' | sort | head -n 1)
step greentrain predict "$out/run" "$scene" "$out/map.tif" --png "$out/map.png"
step greentrain evaluate "$out/run"
step greenprep report "$out/city.zarr" --out "$out/store.html"
step greentrain compare "$out/city.zarr" --models constant,spectral --run "$out/run" --seeds 1 --out "$out/compare"

echo
printf '%-26s%s\n' "Report of the cleaning:" "$out/clean/report.html" "Report of the store:" "$out/store.html" \
    "Report of the training:" "$out/run/report.html" "Comparison:" "$out/compare/compare.html" \
    "Map:" "$out/map.tif" "Its picture:" "$out/map.png"
printf '\nNow your own data: greenprep init FOLDER\n'
