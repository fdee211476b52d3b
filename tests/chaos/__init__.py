"""A campaign against the promise that no order is ever lost.

Whole maker processes trade against a hostile exchange, are killed at chosen moments and started again; afterwards
two files are compared that neither side could have adjusted: the exchange's own event log and the maker's journal.
"""
