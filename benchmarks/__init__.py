"""The harness behind every figure that the README quotes: ratios against a ceiling measured in the same run."""
