#!/bin/sh
# Makes the shipped networks: toy events, a network for all planes, then one for each plane from it.
#
#   sh benches/networks/train.sh FOLDER
#
# Two cores take about 35 minutes. If it is stopped, run it again to resume.
set -eu
folder=${1:?want a folder for the networks and the toy events}
mkdir -p "$folder/toys"
trap 'trap "" TERM; kill 0; wait; exit 130' INT TERM # background processes ignore Ctrl-C

# Events of one seed share their dead wires, and a network must see many detectors.
toys() { # NAME COUNT FIRST_SEED ROWS COLS
    seed=$3
    while [ "$seed" -lt "$(($3 + $2))" ]; do
        file=$folder/toys/$1-$seed.root
        [ -e "$file" ] || ssnet toy --events 25 --seed "$seed" --rows "$4" --cols "$5" -o "$file"
        seed=$((seed + 1))
    done
}

learn() { # NAME OPTIONS: from all toy events
    name=$1
    shift
    ssnet train "$folder"/toys/crop-*.root "$folder"/toys/whole-*.root -n 1 -o "$folder/$name" \
        --validate "$folder/toys/unseen-70000.root" --validate "$folder/toys/unseen-70001.root" "$@"
}

alone() { # PLANE OPTIONS: one plane's network, with BatchNorm as it will be served
    plane=$1
    shift
    learn "plane$plane" --planes "$plane" --weights "$folder/all/uresnet_plane$plane.caffemodel" \
        --batch-size 8 --rows 256 --cols 256 --shower-weight 2 --freeze-statistics 1 --threads 1 "$@"
    cp "$folder/plane$plane/uresnet.prototxt" "$folder/plane$plane/uresnet_plane$plane.caffemodel" \
        "$folder"
}

toys crop 36 1000 512 512 & # an interaction in each
others=$!
toys whole 16 2000 1008 3456 # MicroBooNE's size, mostly cosmic muons
toys unseen 2 70000 512 512
wait "$others"

learn all --steps 3000 --batch-size 4 --rows 192 --cols 192 --rate 3e-3

alone 2 --steps 1400 --rate 1.5e-3 & # the hardest: tracks are short on it
others=$!
alone 0 --steps 500 --rate 1e-3
alone 1 --steps 500 --rate 1e-3
wait "$others"
