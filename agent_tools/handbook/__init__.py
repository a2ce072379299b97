"""From records and code to documents, which are rendered, checked, and never written over what people wrote."""
