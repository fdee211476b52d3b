"""API keys: read from the environment, never shown."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr

from mm_hybrid.config import VenueConfig


class Credentials(BaseModel):
    """An API key; never shown in logs or representations. ``password`` is Bitget's passphrase."""

    model_config = ConfigDict(frozen=True)

    api_key: SecretStr
    secret: SecretStr
    password: SecretStr = SecretStr("")

    @classmethod
    def of_environment(cls, venue: VenueConfig) -> Self | str:
        """Return the key that the variables a configuration names hold, or the name of one that is not set."""
        names = [venue.api_key_env, venue.api_secret_env]
        if venue.name == "bitget":
            names.append(venue.api_password_env)
        values = [os.environ.get(name, "") for name in names]
        missing = next((name for name, value in zip(names, values, strict=True) if not value), None)
        if missing is not None:
            return missing
        key, secret, *password = (SecretStr(value) for value in values)
        return cls(api_key=key, secret=secret, password=password[0] if password else SecretStr(""))


LOCAL_CREDENTIALS = Credentials(
    api_key=SecretStr("demo-key"), secret=SecretStr("demo-secret"), password=SecretStr("demo-password")
)
"""What the local exchange server accepts by default; worth nothing anywhere else."""
