"""Gates: conditions on a phase's figures that decide whether a consortium goes on."""
