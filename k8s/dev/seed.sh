#!/bin/sh
# Registers alice and bob, has both say something in a chat, and prints how to go on with it. Twice is as good as once.
# QPC, QPC_SERVER and QPC_CA_CERT say what to use instead of a new `qpc` and the cluster's gateway.
set -eu
cd "$(dirname "$0")/../.."
folder=${FOLDER:-target/tilt/people}
mkdir -p "$folder"
if [ -z "${QPC:-}" ]; then
    cargo build --quiet -p qpc-cli
    QPC=${CARGO_TARGET_DIR:-target}/debug/qpc
fi
if [ -z "${QPC_CA_CERT:-}" ]; then
    QPC_CA_CERT=$folder/ca.pem
    kubectl -n quicprochat get secret quicprochat-tls-public -o 'jsonpath={.data.ca\.crt}' | base64 -d > "$folder/ca.new"
    # Another cluster knows nobody of these.
    cmp -s "$folder/ca.new" "$QPC_CA_CERT" || rm -rf "$folder"/alice* "$folder"/bob*
    mv "$folder/ca.new" "$QPC_CA_CERT"
fi
export QPC_CA_CERT QPC_SERVER="${QPC_SERVER:-localhost:7000}" QPC_PASSWORD_FILE="$folder/password" QPC_NO_INPUT=true
[ -s "$QPC_PASSWORD_FILE" ] || echo development > "$QPC_PASSWORD_FILE"

as() {
    name=$1
    shift
    "$QPC" --username "$name" --data-dir "$folder/$name" "$@"
}
for name in alice bob; do
    # The last thing that registering writes here.
    if [ ! -e "$folder/$name.registered" ]; then
        as "$name" register-user "$name"
        touch "$folder/$name.registered"
    fi
done
as alice send @bob "Hello Bob, this is a development cluster." --key seed
as bob recv
as bob accept @alice
as bob send @alice "Hello Alice, I can read you." --key seed
as alice recv
echo "Go on:"
for name in alice bob; do
    echo "  $QPC --server $QPC_SERVER --ca-cert $QPC_CA_CERT --password-file $QPC_PASSWORD_FILE --data-dir $folder/$name tui -u $name"
done
