"""Images to train and test with: painted eyes, and the DICOM files made of them."""
