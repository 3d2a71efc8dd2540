"""oculard: a DICOM daemon for eye clinics."""

__version__ = "0.1.0"
IMPLEMENTATION_CLASS_UID = "2.25.192657076012153435998891576296695273009"  # who wrote a file or spoke (PS3.7 D.3.3.2)
IMPLEMENTATION_VERSION_NAME = "OCULARD"
COMMITMENT_CLASS_UID = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model: we ask the PACS, devices ask us
COMMITMENT_INSTANCE_UID = "1.2.840.10008.1.20.1.1"  # its well-known instance (PS3.4 J.3.5)
