"""From curated rollouts to a release, and everything that loads one."""
