"""Generated from protos/tanager/v1 by `make proto`; never edited by hand."""
