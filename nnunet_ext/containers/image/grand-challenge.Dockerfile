# A number, as the platform refuses users that could be root.
WORKDIR /opt/nnunet-ext
RUN install --directory --owner=1000 --group=1000 /opt/nnunet-ext/caches
USER 1000:1000
RUN /opt/nnunet-ext/venv/bin/python -m nnunet_ext.containers.check
@LABELS@
ENTRYPOINT ["/opt/nnunet-ext/venv/bin/python", "-m", "nnunet_ext.containers.grand_challenge"]
