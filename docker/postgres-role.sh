#!/bin/sh
# The database image runs this once, on an empty volume. The service gets a role that owns its
# database and may do nothing else. The superuser has no password afterwards: it can only log in
# within the container (docker compose exec postgres psql -U postgres).
set -eu
psql --set=ON_ERROR_STOP=1 --set=superuser="$POSTGRES_USER" --set=role="${SERVICE_ROLE:-normlab}" \
  --set=password="$POSTGRES_PASSWORD" --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
create role :"role" login password :'password' nosuperuser nocreatedb nocreaterole noreplication;
create database :"role" owner :"role";
revoke all on database :"role" from public;
alter role :"superuser" password null;
SQL
