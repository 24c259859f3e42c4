#!/bin/sh
# A worker, written against the API's description alone: it asks for a job, answers the person,
# and says that it is done.
#
# SWITCHBOARD_URL is the hub, SWITCHBOARD_KEY a tenant's key with the scopes worker and send.
# JOBS is how many to do; for ever, if it is not set.
set -eu

# The first text called $1 in the JSON $2.
field() {
    printf '%s' "$2" | grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4
}

call() {
    curl --silent --show-error --fail-with-body --max-time 40 --noproxy '*' \
        --header "Authorization: Bearer $SWITCHBOARD_KEY" --header 'Content-Type: application/json' "$@"
}

done=0
while [ -z "${JOBS:-}" ] || [ "$done" -lt "$JOBS" ]; do
    job=$(call "$SWITCHBOARD_URL/queue/next-job?wait=20") || { sleep 1; continue; }
    id=$(field job_id "$job")
    [ -n "$id" ] || continue

    # The message's id is the same in every attempt, so a second answer to it is the first one.
    call "$SWITCHBOARD_URL/messages" --output /dev/null \
        --header "Idempotency-Key: answer-to-$(field id "$job")" \
        --data "{\"conversation\":\"$(field conversation "$job")\",\"text\":\"Thank you!\"}" || {
        call "$SWITCHBOARD_URL/queue/job/$id/fail" --output /dev/null \
            --data '{"reason":"the answer was not taken"}' || true
        continue
    }

    # Refused only if the lease lapsed meanwhile: then the job is another's.
    call "$SWITCHBOARD_URL/queue/job/$id/complete" --output /dev/null \
        --data '{"result":{"answered":true}}' || continue
    done=$((done + 1))
done
