FROM python:3.11-slim-bookworm AS build
COPY requirements/serve.txt /build/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        -r /build/serve.txt \
    && /venv/bin/pip uninstall --yes pip setuptools
COPY schema.sql /app/
COPY service/ /app/service/
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# An HTTPConnection, unlike urlopen, sends nothing through a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.getenv('PORT') or 8080), timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "service", "serve"]
