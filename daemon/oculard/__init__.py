"""oculard: a DICOM daemon for eye clinics."""

__version__ = "0.1.0"
IMPLEMENTATION_CLASS_UID = "2.25.192657076012153435998891576296695273009"  # who wrote a file or spoke (PS3.7 D.3.3.2)
IMPLEMENTATION_VERSION_NAME = "OCULARD"
