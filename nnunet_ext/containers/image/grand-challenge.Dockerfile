# A number, as the platform refuses users that could be root.
WORKDIR /opt/nnunet-ext
USER 1000:1000
RUN /opt/nnunet-ext/venv/bin/python -m nnunet_ext.containers.check && rm -rf /tmp/nnunet-ext
@LABELS@
ENTRYPOINT ["/opt/nnunet-ext/venv/bin/python", "-m", "nnunet_ext.containers.grand_challenge"]
