"""A whole consortium on one machine: bank folders made from one data set, and Flower's simulation runtime."""
