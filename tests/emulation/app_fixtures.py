"""Fixtures of the emulated phone with the app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from app_phone import AppPhone
from emulated_device import EmulatedDevice


@pytest.fixture(scope="module")
def app_phone(phone: EmulatedDevice, java_classes: Path, android_tools: Path) -> AppPhone:
    """The emulated phone of this module, without the app so far."""
    return AppPhone(phone, java_classes, android_tools / "onnxruntime")


@pytest.fixture
def with_app(app_phone: AppPhone, tmp_path: Path) -> Iterator[AppPhone]:
    """The phone with the app of this version installed; it is gone afterwards."""
    from toolchain.api import android_install

    android_install(app_phone.uri, apk=app_phone.make_apk(tmp_path))
    try:
        yield app_phone
    finally:
        app_phone.uninstall()
