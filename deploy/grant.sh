#!/bin/bash
# Give the users topics, joiner, learner and server their passwords, and the rights that kafka.md lists for their processes.
set -euo pipefail

tools=${KAFKA_TOOLS:-/opt/kafka/bin} server=${KAFKA_SERVER:-localhost:9092} secrets=${SECRETS:-/run/secrets}
declare -A process=([topics]="topics create" [joiner]=join [learner]=learn [server]=serve)

for user in "${!process[@]}"; do
  "$tools/kafka-configs.sh" --bootstrap-server "$server" --alter --entity-type users --entity-name "$user" \
    --add-config-file <(printf 'SCRAM-SHA-512=password=%s\n' "$(<"$secrets/$user")") >/dev/null
  awk -F ' [|] |^[|] | [|]$' -v process="\`sml ${process[$user]}\`" '$2 == process { gsub(",", "", $5); print $3, $4, $5 }' \
    "$(dirname "$0")/kafka.md" | while read -r kind name rights; do
    resource=$(sed 's/\([a-z]\)\([A-Z]\)/\1-\2/g' <<<"$kind" | tr '[:upper:]' '[:lower:]')
    # shellcheck disable=SC2086 # one option for each right
    "$tools/kafka-acls.sh" --bootstrap-server "$server" --add --force --allow-principal "User:$user" "--$resource" "$name" \
      $(printf -- ' --operation %s' $(tr -d _ <<<"$rights")) </dev/null >/dev/null
  done
done
