# Stands in for the official image of PostgreSQL where that cannot be pulled: the same users, folders, modes,
# variables and entry point, with Debian's own PostgreSQL.
ARG DEBIAN
# The test names one that it made itself.
# hadolint ignore=DL3006
FROM ${DEBIAN}
ARG PG
# The folders of versions before 18.
ARG PGDATA=/var/lib/postgresql/data
ARG VOLUME=${PGDATA}
RUN groupadd --system --gid 999 postgres \
    && useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres \
    && install --directory --owner postgres --group postgres --mode 1777 /var/lib/postgresql
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gosu libnss-wrapper locales postgresql-common \
    && echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf \
    && apt-get install --yes --no-install-recommends "postgresql-${PG}" \
    && rm -rf /var/lib/apt/lists/* \
    && echo "en_US.UTF-8 UTF-8" >>/etc/locale.gen && locale-gen
ENV LANG=en_US.utf8 PG_MAJOR=${PG} PATH=$PATH:/usr/lib/postgresql/${PG}/bin PGDATA=${PGDATA}
RUN sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!\1 = '*'!" "/usr/share/postgresql/${PG}/postgresql.conf.sample" \
    && mkdir /docker-entrypoint-initdb.d \
    && install --directory --owner postgres --group postgres --mode 3777 /var/run/postgresql \
    && install --directory --owner postgres --group postgres --mode 1777 "$VOLUME"
VOLUME ${VOLUME}
COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
