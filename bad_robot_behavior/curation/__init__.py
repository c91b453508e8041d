"""Raw rollouts to curated rollouts: sources/ reads them, then one stage each in the order of shards.STAGES."""
