#!/bin/sh
# Makes the shipped networks: toy events, a network of all planes, from there each plane's own.
#
#   sh services/networks/train.sh FOLDER
#
# Two cores take 40 minutes. Started again it goes on where it was stopped.
set -eu
folder=${1:?want a folder for the networks and the toy events}
mkdir -p "$folder/toys"

# Events of one seed share their dead wires: a network must see those of many detectors.
toys() { # NAME COUNT FIRST_SEED ROWS COLS
    seed=$3
    while [ "$seed" -lt "$(($3 + $2))" ]; do
        file=$folder/toys/$1-$seed.root
        [ -e "$file" ] || ssnet toy -n 25 --seed "$seed" --rows "$4" --cols "$5" -o "$file"
        seed=$((seed + 1))
    done
}

toys crop 36 1000 512 512 & # an interaction in each
toys whole 16 2000 1008 3456 # MicroBooNE's size, where cosmic muons prevail
wait
toys unseen 2 70000 512 512

learn() { # NAME OPTIONS: from all toy events
    name=$1
    shift
    ssnet train "$folder"/toys/crop-*.root "$folder"/toys/whole-*.root -n 1 -o "$folder/$name" \
        --validate "$folder/toys/unseen-70000.root" --validate "$folder/toys/unseen-70001.root" "$@"
}

alone() { # PLANE STEPS: a plane's own, with BatchNorm as it will be served
    learn "plane$1" --plane "$1" --steps "$2" --weights "$folder/all/uresnet_plane$1.caffemodel" \
        --batch 8 --rows 256 --cols 256 --rate 1e-3 --shower-weight 2 --freeze-statistics 1
    cp "$folder/plane$1/uresnet.prototxt" "$folder/plane$1/uresnet_plane$1.caffemodel" "$folder"
}

learn all --steps 3000 --batch 4 --rows 192 --cols 192 --rate 3e-3
alone 0 500
alone 1 500
alone 2 800
