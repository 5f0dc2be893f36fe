#!/bin/sh
# Makes the shipped networks: toy events, a network of all planes, from there each plane's own.
#
#   sh benches/networks/train.sh FOLDER
#
# Two cores take about 35 minutes. Started again it goes on where it was stopped.
set -eu
folder=${1:?want a folder for the networks and the toy events}
mkdir -p "$folder/toys"
trap 'trap "" TERM; kill 0; wait; exit 130' INT TERM # a shell's background ignores Ctrl-C

# Events of one seed share their dead wires: a network must see those of many detectors.
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

alone() { # PLANE OPTIONS: a plane's own, with BatchNorm as it will be served
    plane=$1
    shift
    learn "plane$plane" --planes "$plane" --weights "$folder/all/uresnet_plane$plane.caffemodel" \
        --batch-size 8 --rows 256 --cols 256 --shower-weight 2 --freeze-statistics 1 --threads 1 "$@"
    cp "$folder/plane$plane/uresnet.prototxt" "$folder/plane$plane/uresnet_plane$plane.caffemodel" \
        "$folder"
}

toys crop 36 1000 512 512 & # an interaction in each
others=$!
toys whole 16 2000 1008 3456 # MicroBooNE's size, where cosmic muons prevail
toys unseen 2 70000 512 512
wait "$others"

learn all --steps 3000 --batch-size 4 --rows 192 --cols 192 --rate 3e-3

alone 2 --steps 1400 --rate 1.5e-3 & # the hardest: tracks are short on it
others=$!
alone 0 --steps 500 --rate 1e-3
alone 1 --steps 500 --rate 1e-3
wait "$others"
