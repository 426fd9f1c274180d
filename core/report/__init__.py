"""A run as one HTML file: the video, where the camera was, what the memory did, and whether it helped.

    source     what a run folder holds, and what is missing
    series     numbers by the chunk, thinned for figures
    svg, looks the few shapes that figures are made of, and their colours in light and dark
    path_figure, timeline_figure, memory_figure, speed_figure, revisit_figure
    kept       which tokens were stored, over the frames
    revisits   pairs of first visit and revisit, from the video
    settings   settings with their sources, and the command that makes the run again
    run_page, compare_page, make

Figures are SVG and stand without JavaScript; the scripts in `assets` move the current position along.
"""
