// SPDX-License-Identifier: Apache-2.0
// The structs of yoloq.h with their C names; a test compares every offset with the compiled header.
using System;
using System.Runtime.InteropServices;

namespace YoloQ.Native
{
#pragma warning disable IDE1006, CS0649 // C names; fields that only the native side writes

    [StructLayout(LayoutKind.Sequential)]
    internal struct yq_options
    {
        public uint size;
        public IntPtr backend, device, cache_dir;
        public float score_threshold, iou_threshold;
        public uint max_detections, streams, timeout_ms;
        public int hint;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct yq_call
    {
        public uint size;
        public float score_threshold, iou_threshold;
        public uint timeout_ms, found;
        public float queue_ms, preprocess_ms, engine_ms, decode_ms;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct yq_image
    {
        public uint size;
        public int format, width, height;
        public IntPtr data;
        public long stride;
        public IntPtr data2;
        public long stride2;
        public int roi_x, roi_y, roi_width, roi_height, color_space, reserved;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct yq_info
    {
        public uint size, format;
        public fixed byte name[64];
        public fixed byte task[16];
        public fixed byte precision[16];
        public fixed byte chip[32];
        public fixed byte backend[32];
        public fixed byte backend_version[64];
        public fixed byte device[32];
        public int input_width, input_height, input_channels;
        public uint class_count, streams, batch;
        public int needs_nms;
        public float score_threshold, iou_threshold;
        public uint max_detections, timeout_ms;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct yq_stage_stats
    {
        public float mean_ms, p50_ms, p99_ms, max_ms;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct yq_stats
    {
        public uint size, streams, streams_busy, streams_quarantined;
        public ulong pictures, errors, timeouts, device_lost, device_recovered, detections;
        public yq_stage_stats total, queue, preprocess, engine, decode;
        public float device_temperature_c, device_power_w, device_utilization_percent;
        public uint reserved;
        public ulong device_memory_used, device_memory_total;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct yq_backend_desc
    {
        public uint size;
        public int usable;
        public fixed byte name[32];
        public fixed byte version[64];
        public fixed byte reason[256];
    }
}
