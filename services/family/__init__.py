"""The family room: family groups, invitations, pledges, bindings and the order of deduction (domain §2)."""
