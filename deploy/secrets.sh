#!/bin/sh
# Makes the fleet's secrets for docker-compose.yml: `sh deploy/secrets.sh [FOLDER]`, by default deploy/secrets.
#
# Passwords that are there already are kept, so it can be run again; what follows from them (URLs, the broker's users)
# is written anew. To change a password of the broker, delete its file, run this, and restart RabbitMQ and what uses it.
#
# PostgreSQL and Grafana take theirs when their volume is empty and never again. Give them the new one as well, before
# anything is restarted, or nobody gets in:
#
#     rm deploy/secrets/postgres_password && sh deploy/secrets.sh
#     docker compose exec postgres psql --username bellbuoy \
#         --command "ALTER ROLE bellbuoy PASSWORD '$(cat deploy/secrets/postgres_password)'"
#
#     rm deploy/secrets/grafana_password && sh deploy/secrets.sh
#     docker compose exec grafana grafana cli admin reset-admin-password "$(cat deploy/secrets/grafana_password)"
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# The folder keeps other users of this machine out. The files are readable for whom compose hands them
# to: each container has a user id of its own.
chmod 700 "$folder"
cd "$folder"
umask 022

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# password NAME: 24 random bytes as hexadecimal, which needs no escaping in a URL.
password() {
    [ -s "$1" ] || openssl rand -hex 24 | tr -d '\n' > "$1"
    cat "$1"
}

# password_hash PASSWORD: as RabbitMQ keeps it, base64 of a salt of four bytes and SHA-256 of salt and password.
password_hash() {
    openssl rand 4 > "$scratch/salt"
    printf %s "$1" | cat "$scratch/salt" - | openssl dgst -sha256 -binary > "$scratch/digest"
    cat "$scratch/salt" "$scratch/digest" | openssl base64 -A
}

users='' permissions=''

# user NAME TAGS CONFIGURE WRITE READ: a user of the broker; the last three are regular expressions over names.
user() {
    secret=$(password "rabbitmq_password_$1")
    printf 'amqp://%s:%s@rabbitmq:5672/bellbuoy' "$1" "$secret" > "broker_url_$1"
    users="$users${users:+,}
    {\"name\": \"$1\", \"password_hash\": \"$(password_hash "$secret")\",
     \"hashing_algorithm\": \"rabbit_password_hashing_sha256\", \"tags\": [$2]}"
    permissions="$permissions${permissions:+,}
    {\"user\": \"$1\", \"vhost\": \"bellbuoy\", \"configure\": \"$3\", \"write\": \"$4\", \"read\": \"$5\"}"
}

# Exchanges to which a worker puts what it makes down: `queues` and `delay` bring messages back to where they were.
outputs='(deliveries|outcomes|dead|queues|delay\\.v1\\.[0-9]+)'
# A queue of ours is three of RabbitMQ's.
lanes='(\\.due|\\.suspects)?'
none='^$'
#    name     tags              configure        write                                           read
user operator '"administrator"' '.*'             '.*'                                            '.*'
user topology ''                '^bellbuoy\\..+' '^bellbuoy\\..+'                                '^bellbuoy\\..+'
user producer ''                "$none"          '^bellbuoy\\.events$'                           "$none"
user api      ''                "$none"          '^bellbuoy\\.(events|deliveries|outcomes|dead)$' "$none"
user fanout   ''                "$none"          "^bellbuoy\\\\.$outputs\$"                      "^bellbuoy\\\\.events$lanes\$"
user deliver  ''                "$none"          "^bellbuoy\\\\.$outputs\$"                      '^bellbuoy\\.deliver\\..+'
user record   ''                "$none"          "^bellbuoy\\\\.$outputs\$"                      "^bellbuoy\\\\.(outcomes|dead)$lanes\$"

cat > rabbitmq_definitions <<END
{
  "vhosts": [{"name": "bellbuoy"}],
  "users": [$users
  ],
  "permissions": [$permissions
  ]
}
END

printf 'postgres://bellbuoy:%s@postgres:5432/bellbuoy' "$(password postgres_password)" > store_url
# What webhooks' secrets are encrypted with in the database. Whoever loses it loses them: keep a copy apart from the database's.
[ -s secret_key ] || openssl rand -hex 32 | tr -d '\n' > secret_key
[ -s admin_token ] || printf 'bba_%s' "$(openssl rand -hex 32)" > admin_token
password grafana_password > "$scratch/unused"
echo "the fleet's secrets are in $(pwd); the API's admin token is in the file admin_token"
