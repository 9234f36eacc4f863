#!/usr/bin/env bash
# The races behind RESULTS in README: `bash data/results/answer.sh start long` makes these two, `copy-20` one of its kind,
# and without names all are made, in some five hours of two cores. A race that was cut off goes on; each
# leaves a page in results/NAME and its figures in results/NAME.json.
#
# Sizes are chosen so that every contestant has its own best learning rate of five or more, and enough seeds for its claims
# (m claims take n seeds with 2 m / 2^n <= 0.05, or not even a difference that all seeds have is shown): an LSTM
# of 128 units and 8 streams, where nothing else is said. There, one pass over the built-in text takes 13 seconds, whatever
# the truncation. The claims of each race are in data/claims/, and were fixed before.
set -euo pipefail

built_in() { [ -e shakespeare.corpus ] || rnnbptt prepare data/shakespeare.txt; }

# race NAME CLAIMS TEXT OPTIONS: begun, or taken up where it was cut off.
race() {
    local name=$1 claims=$2 text=$3
    shift 3
    local answer=(--claim "data/claims/$claims.toml" --report "results/$name" --json "results/$name.json" --sample-length 200)
    mkdir -p results
    if [ -e "races/$name" ]; then
        rnnbptt race --resume "races/$name" "${answer[@]}"
    else
        rnnbptt race "$text" --out "races/$name" "$@" "${answer[@]}"
    fi
}

plain=(--hidden 128 --streams 8 --dropout 0 --tune 5)

# One pass over the built-in text: 1, 64 and 1..64, lengths between and beyond, and the controls of a curriculum.
start() {
    built_in
    race start start shakespeare.corpus "${plain[@]}" --epochs 1 --seeds 10 --trunc 1 --trunc 4 --trunc 16 --trunc 64 \
        --trunc 256 --trunc 1..64 --trunc 1..256 --trunc random:64 --trunc 64..1 --trunc 'shuffle(1..64)'
}

# Half a pass with twice as many streams, so that 64 makes half as many updates for each character read.
early() {
    built_in
    race early start-three shakespeare.corpus --hidden 128 --streams 16 --dropout 0 --tune 5 --chars 500000 \
        --seeds 8 --seed 200 --trunc 1 --trunc 64 --trunc 1..64
}

# Four passes.
long() {
    built_in
    race long long shakespeare.corpus "${plain[@]}" --epochs 4 --seeds 8 --trunc 1 --trunc 64 --trunc 1..64
}

# Four times as much text: the King James Bible, from Debian's packages bible-kjv and bible-kjv-text 4.38.
bible() {
    if [ ! -e bible.txt ]; then
        command bible -f gen1:1-rev22:21 | cut -d' ' -f2- > bible.part
        mv bible.part bible.txt
    fi
    [ -e bible.corpus ] || rnnbptt prepare bible.txt --split 0.96/0.02/0.02
    race bible long bible.corpus "${plain[@]}" --epochs 1 --seeds 8 --trunc 1 --trunc 64 --trunc 1..64
}

# Pure online learning, as the discussion has it: one stream, one character an update. CELL OPTIMIZER
online() {
    built_in
    local lr=0.001
    [ "$2" != sgd ] || lr=0.03
    race "online-$1-$2" online shakespeare.corpus --cell "$1" --optimizer "$2" --lr "$lr" \
        --hidden 128 --streams 1 --dropout 0 --tune 5 --chars 200000 --trunc 1 --trunc 16 --trunc 64
}

# Merely more updates? Every 1 or 64 characters, 1 or 64 characters deep.
updates() {
    built_in
    race updates updates shakespeare.corpus "${plain[@]}" --chars 200000 --precision float32 --seeds 8 --seed 200 \
        --trunc 1 --trunc 64/1 --trunc 1/64 --trunc 64
}

# What carries credit past the cut, and what chooses the cut by measuring.
traces() {
    built_in
    race traces traces shakespeare.corpus "${plain[@]}" --chars 200000 --precision float32 --seeds 8 \
        --trunc 1 --trunc 64 --trunc snap --trunc rflo --trunc snap:64 --trunc adaptive:0.5
}

# No more than a window of two characters?
window() {
    built_in
    race window window shakespeare.corpus "${plain[@]}" --chars 300000 --precision float32 \
        --trunc 1 --trunc '1 cell=window:2' --trunc '1 cell=window:4' --trunc stateless:4
}

# A text with a dependency LAG characters long, of which the test split scores 2,000 characters or more, becomes $copied.
prepare_copied() {
    local size=1M
    [ "$1" -lt 100 ] || size=4M
    copied="copy-$1-$size.corpus"
    [ -e "$copied" ] || rnnbptt prepare --task "copy:$1" --size "$size" --out "$copied"
}

copy() {
    prepare_copied "$1"
    race "copy-$1" lag "$copied" --hidden 64 --streams 16 --dropout 0 --tune 5 --chars 300000 \
        --precision float32 --seeds 8 --trunc 1 --trunc 24 --trunc 128 --trunc snap --trunc '1 cell=window:2'
}

# The same with ten times as much text: 1, and what is as long as the dependency.
far() {
    local depth=24
    [ "$1" = 20 ] || depth=128
    prepare_copied "$1"
    race "far-$1" "lag-far-$1" "$copied" --hidden 64 --streams 16 --dropout 0 --tune 5 --chars 3000000 \
        --precision float32 --seeds 8 --trunc 1 --trunc "$depth"
}

# Is temporal credit free? OPTIMIZER, and for three times the text and ten other seeds: long
credit() {
    built_in
    local more=(--chars 100000)
    [ "${2:-}" != long ] || more=(--chars 300000 --seeds 10 --seed 200)
    race "credit-$1${2:+-$2}" credit shakespeare.corpus --cell rnn --optimizer "$1" --lr 0.003 --hidden 32 \
        --streams 4 --dropout 0 --tune 5 --precision float32 "${more[@]}" \
        --trunc 1 --trunc rtrl --trunc snap --trunc 64
}

# Ups and downs of a walk with a known dependence on its past.
updown() {
    if [ ! -e walk.csv ]; then
        python data/make_walk.py > walk.part
        mv walk.part walk.csv
    fi
    [ -e walk.corpus ] || rnnbptt prepare --task updown:walk.csv:price --out walk.corpus
    race updown updown walk.corpus --hidden 32 --streams 16 --dropout 0 --tune 5 --chars 500000 --precision float32 \
        --trunc 1 --trunc 64 --trunc 1..64 --trunc '1 cell=window:2'
}

# The first one again, twice as large and with twice as many streams.
large() {
    built_in
    race large start-three shakespeare.corpus --hidden 256 --streams 16 --dropout 0 --tune 5 --epochs 1 --seeds 8 \
        --trunc 1 --trunc 64 --trunc 1..64
}

if [ $# = 0 ]; then
    set -- start early long updates window bible traces large updown copy-{5,20,100} far-{20,100} credit-{rmsprop,adam,rmsprop-long} \
        online-{rnn,lstm}-{sgd,rmsprop,adam}
fi
for name in "$@"; do
    ${name//-/ }
done
