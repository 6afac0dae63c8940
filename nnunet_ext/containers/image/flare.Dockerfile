# FLARE starts it with the command `/bin/bash -c "sh predict.sh"`, and lets it write as root.
# hadolint ignore=DL3002
USER 0
WORKDIR /workspace
COPY predict.sh /workspace/predict.sh
RUN /opt/nnunet-ext/venv/bin/python -m nnunet_ext.containers.check
@LABELS@
ENTRYPOINT []
CMD ["sh", "predict.sh"]
