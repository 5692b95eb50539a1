#!/usr/bin/env bash
# Makes the shop's history: a git repository with seven commits, tagged v1 to v7, that are released one after the other.
#
#   history.sh DIR [LISTEN]     DIR must not exist or be empty; LISTEN is the gate's address, 127.0.0.1:8080 unless told
#
#   v1  the first release
#   v2  a nullable column, with an expand migration, and orders that use it
#   v3  bad: one request in ten fails
#   v4  bad: one request in twenty takes 600 ms longer
#   v5  a migration that fails
#   v6  good again
#   v7  writes its DATABASE_URL to stdout
set -euo pipefail

dir=${1:?usage: history.sh DIR [LISTEN]}
listen=${2:-127.0.0.1:8080}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -e "$dir" ] && [ -n "$(ls -A "$dir")" ]; then
    echo "history.sh: $dir is not empty" >&2
    exit 1
fi
mkdir -p "$dir"
cd "$dir"

# Nothing of the machine's own git configuration gets in: the same script makes the same commits everywhere.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME='Shop keeper' GIT_AUTHOR_EMAIL='keeper@shop.example'
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL

release=0
commit() { # SUBJECT
    release=$((release + 1))
    export GIT_AUTHOR_DATE="2026-01-1${release}T09:00:00Z" GIT_COMMITTER_DATE="2026-01-1${release}T09:00:00Z"
    git add --all
    git commit --quiet --message "$1"
    git tag "v$release"
}
behave() { # KEY VALUE
    sed -i "s/^$1 = .*/$1 = $2/" behaviour.toml
    grep --quiet "^$1 = $2\$" behaviour.toml
}
migrate() { # FILE
    cp "$here/migrations/$1" migrations/
}

git init --quiet --initial-branch main
mkdir migrations
sed "s/127\.0\.0\.1:8080/$listen/" "$here/cutover.toml" >cutover.toml
cp "$here/behaviour.toml" .
printf '/shop\n/.cutover\n' >.gitignore
migrate 20260105090000_products_and_orders.sql
commit 'Sell tea'

migrate 20260112090000_order_notes.sql
behave order_notes true
commit 'Keep a note with each order'

behave error_share 0.1
commit 'Round prices in a new way'

behave error_share 0.0
behave slow_share 0.05
behave slow_ms 600
commit 'Look up recommendations'

behave slow_share 0.0
behave slow_ms 0
cat >migrations/20260115090000_order_source.sql <<'SQL'
-- phase: expand
ALTER TABLE orders ADD COLUMN source text;
CREATE INDEX orders_sources ON orders (sources);
SQL
commit 'Remember where orders come from'

rm migrations/20260115090000_order_source.sql
commit 'Leave out where orders come from, for now'

behave print_database_url true
commit 'Say more at the start'
