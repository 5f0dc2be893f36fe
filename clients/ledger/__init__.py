"""The ledger of a production run: what each event and crop cost, by stage; docs/ledger.md."""
