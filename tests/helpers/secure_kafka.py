"""A real Kafka that asks who one is: a listener for each way to find out, and no right that was not granted.

    with SecureKafka(folder) as kafka:
        kafka.add_user("learner", "secret")
        kafka.grant("User:learner", "Topic", "sml.examples", "READ")

The listener PLAINTEXT is its administrator's, who may do everything; those of ``LISTENERS`` are for the processes.
"""

import datetime as dt
import secrets
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion as Upsertion,
)

from stream.log.settings import SecuritySettings
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.ports import free_ports

LISTENERS = {"SASL": "SASL_SSL", "CLEAR": "SASL_PLAINTEXT", "MUTUAL": "SSL", "EXPIRED": "SSL", "OTHERNAME": "SSL"}
SCRAM = "SCRAM-SHA-512"
PLAIN_USER, PLAIN_PASSWORD = "plain", secrets.token_hex(8)

_MODULES = "org.apache.kafka.common.security"
_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{protocols}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
ssl.principal.mapping.rules=RULE:^CN=([^,]+),.*$/$1/,DEFAULT
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={folder}/expired.pem
listener.name.othername.ssl.keystore.type=PEM
listener.name.othername.ssl.keystore.location={folder}/othername.pem
"""
_SASL = """
listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.{listener}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{listener}.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="x";
"""


class SecureKafka(KafkaServer):
    """One node, with its certificates in ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.ca = folder, trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        self.certificate("server", "127.0.0.1")
        self.certificate("expired", "127.0.0.1", not_after=past)
        self.certificate("othername", "elsewhere.example")
        ports = free_ports(len(LISTENERS) + 1)
        self.urls = {name: f"kafka://127.0.0.1:{port}" for name, port in zip(LISTENERS, ports, strict=False)}
        properties = _PROPERTIES.format(
            port=self.port,
            controller=ports[-1],
            listeners=",".join(url.replace("kafka", name) for name, url in self.urls.items()),
            protocols=",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items()),
            folder=folder,
        )
        for name in ("sasl", "clear"):
            properties += _SASL.format(listener=name, modules=_MODULES, user=PLAIN_USER, password=PLAIN_PASSWORD)
        properties += f"controller.quorum.bootstrap.servers=127.0.0.1:{ports[-1]}\n"
        with (self._folder / "server.properties").open("a") as file:
            file.write(properties)

    def start(self) -> None:
        """Start the node, and an administrator's client."""
        super().start()
        self.admin = KafkaAdminClient(bootstrap_servers=self.url.removeprefix("kafka://"))

    def close(self) -> None:
        """Kill the node, and remove its data."""
        if hasattr(self, "admin"):
            self.admin.close()
        super().close()

    def certificate(self, name: str, host: str, ca: trustme.CA | None = None, not_after: dt.datetime | None = None) -> Path:
        """Issue a certificate for ``name``, write it with its key, and return its path."""
        issued = (ca or self.ca).issue_cert(host, common_name=name, not_after=not_after)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        path = self.folder / f"{name}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)  # Java reads no other form
        return path

    def add_user(self, name: str, password: str, mechanism: str = SCRAM) -> None:
        """Add a user of SCRAM, or give it a new password."""
        self.admin.alter_user_scram_credentials([Upsertion(name, mechanism, password)])

    def security(self, name: str, password: str, **changes: object) -> SecuritySettings:
        """Return the settings with which a user logs in at the listener SASL."""
        given: dict[str, object] = {"protocol": "SASL_SSL", "mechanism": SCRAM, "username": name, "password": password}
        return SecuritySettings.model_validate(given | {"ca_file": str(self.folder / "ca.pem")} | changes)

    def grant(self, principal: str, resource: str, name: str, *rights: str, prefixed: bool = False) -> None:
        """Give rights on one resource, a Topic, Group, TransactionalId or Cluster, or on all whose name begins so."""
        pattern = ResourcePattern(_type(resource), name, ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL)
        self.admin.create_acls([ACL(principal, "*", ACLOperation[right], ACLPermissionType.ALLOW, pattern) for right in rights])

    def revoke_all(self, principal: str) -> None:
        """Take every right back."""
        every = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        self.admin.delete_acls([ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ANY, every)])


def _type(resource: str) -> ResourceType:
    return ResourceType["TRANSACTIONAL_ID" if resource == "TransactionalId" else resource.upper()]
