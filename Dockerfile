# One image for API and workers, for CPUs: docs/deployment.md.
FROM python:3.11-slim

# What lays out the PDF report.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE NOTICE /src/
COPY src /src/src
RUN pip install --no-cache-dir "/src[service,web,report,whatsapp,supabase,parquet]" \
    && useradd --create-home --uid 1000 aura \
    && install --directory --owner aura --mode 0700 /data

USER aura
ENV AURA_DATA_DIR=/data OMP_NUM_THREADS=2
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["aura"]
CMD ["serve", "--host", "0.0.0.0"]
