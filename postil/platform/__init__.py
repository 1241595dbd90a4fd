"""Accounts, data, jobs and money: what stands behind the service. The only room with SQL; no torch, no HTTP."""
